import { Column, Entity, PrimaryColumn } from 'typeorm';

/** How often something happened to sessions of one type on one day: few rows, so that figures come without counting sessions. */
@Entity({ name: 'session_daily_count' })
export class SessionDailyCountEntity {
  /** In UTC: `2026-11-24`. */
  @PrimaryColumn({ type: 'varchar', length: 10 })
  day!: string;

  @PrimaryColumn({ type: 'varchar', length: 64 })
  type!: string;

  /** `created`; `ended:` and the reason; or `corrected`, by which `DailyCounts.recount` sets right how many there are. */
  @PrimaryColumn({ type: 'varchar', length: 32 })
  kind!: string;

  @Column({ type: 'int' })
  amount!: number;
}

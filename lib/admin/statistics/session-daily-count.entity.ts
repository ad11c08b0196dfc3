import { Column, Entity, PrimaryColumn } from 'typeorm';

/** How many sessions of one type started or ended on one day. Statistics read these few rows instead of counting sessions. */
@Entity({ name: 'session_daily_count' })
export class SessionDailyCountEntity {
  /** In UTC, such as `2026-11-24`. */
  @PrimaryColumn({ type: 'varchar', length: 10 })
  day!: string;

  @PrimaryColumn({ type: 'varchar', length: 64 })
  type!: string;

  /** `created`, `ended:<reason>`, or `corrected` for a correction of the number of active sessions. */
  @PrimaryColumn({ type: 'varchar', length: 32 })
  kind!: string;

  @Column({ type: 'int' })
  amount!: number;
}

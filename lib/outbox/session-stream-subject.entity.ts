import { Column, Entity, Index, PrimaryColumn } from 'typeorm';

/** A user whom the receiver of a stream has added or removed. */
@Entity({ name: 'session_stream_subject' })
@Index(['subjectKey'])
export class SessionStreamSubjectEntity {
  /** The stream's name in the option `events.streams`. */
  @PrimaryColumn({ type: 'varchar', length: 40 })
  stream!: string;

  /** A hash of the user's id. It compares alike in every collation, and has a fixed length. */
  @PrimaryColumn({ name: 'subject_key', type: 'varchar', length: 64 })
  subjectKey!: string;

  /** 1 if the user was added, and 0 if the user was removed. */
  @Column({ type: 'int' })
  included!: number;
}

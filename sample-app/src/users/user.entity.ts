import { Column, Entity, PrimaryGeneratedColumn } from 'typeorm';

/** A user of this application. The library stores only one of the two ids, depending on the option `userIdType`. */
@Entity({ name: 'app_user' })
export class User {
  @PrimaryGeneratedColumn()
  id!: number;

  /** The id for `userIdType: 'string'`. A user without one can then not log in. New users of the demonstration get a UUID. */
  @Column({ name: 'text_id', type: 'varchar', length: 255, nullable: true, unique: true })
  textId!: string | null;

  @Column({ type: 'varchar', length: 150, unique: true })
  username!: string;

  @Column({ name: 'password_hash', type: 'varchar', length: 255 })
  passwordHash!: string;

  @Column({ type: 'boolean' })
  active!: boolean;
}

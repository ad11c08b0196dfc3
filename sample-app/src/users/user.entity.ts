import { Column, Entity, PrimaryGeneratedColumn } from 'typeorm';

/** A user of this application. The library stores only the id. */
@Entity({ name: 'app_user' })
export class User {
  @PrimaryGeneratedColumn()
  id!: number;

  @Column({ type: 'varchar', length: 150, unique: true })
  username!: string;

  @Column({ name: 'password_hash', type: 'varchar', length: 255 })
  passwordHash!: string;

  @Column({ type: 'boolean' })
  active!: boolean;
}

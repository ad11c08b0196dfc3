import { IsBoolean, IsNotEmpty, IsString, MaxLength, NotContains } from 'class-validator';

/** A user that the start creates: an entry of `DEMO_USERS`. */
export class DemoUser {
  @IsString()
  @IsNotEmpty()
  @MaxLength(150)
  @NotContains('\0')
  username!: string;

  @IsString()
  @IsNotEmpty()
  @NotContains('\0')
  password!: string;

  /** Default: true. */
  @IsBoolean()
  active: boolean = true;
}

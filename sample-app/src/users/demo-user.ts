import { IsBoolean, IsNotEmpty, IsString, MaxLength, NotContains } from 'class-validator';

/** An entry of `DEMO_USERS`: a user that the application creates at start. */
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

import { needsRehash, verifyDjangoPassword } from 'nestjs-multisession/django';

/** Made by Django 5.2.17 with argon2-cffi 25.1 and bcrypt 5.0, unless a line says otherwise. */
const VECTORS: [encoded: string, password: string][] = [
  // From Django's own tests.
  ['pbkdf2_sha256$390000$seasalt$8xBlGd3jVgvJ+92hWPxi5ww0uuAuAnKgC45eudxro7c=', 'lètmein'],
  [
    'scrypt$16384$seasalt$8$1$Qj3+9PPyRjSJIebHnG81TMjsqtaIGxNQG/aEB/NYafTJ7tibgfYz71m0ldQESkXFRkdVCBhhY8mx7rQwite/Pw==',
    'lètmein',
  ],
  [
    'argon2$argon2i$m=8,t=1,p=1$c29tZXNhbHQ$gwQOXSNhxiOxPOA0+PY10P9QFO4NAYysnqRt1GSQLE55m+2GYDt9FEjPMHhP2Cuf0nOEXXMocVrsJAtNSsKyfg',
    'secret',
  ],
  ['argon2$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$YC9+jJCrQhs5R6db7LlN8Q', 'secret'],
  ['argon2$argon2id$v=19$m=102400,t=2,p=8$Y041dExhNkljRUUy$TMa6A8fPJhCAUXRhJXCXdw', 'secret'],
  // Made by Django.
  ['pbkdf2_sha256$1000000$dGkN4MDFhQuTcsCMXHKVKG$7Imse3+tMMX7Wm8QCyr9TsYIQUWaPnWlRC1+hxSW8qM=', 'lètmein'],
  ['pbkdf2_sha1$1000000$Z6DuCV6xxPSo8ESnR7qSxw$5lBNYBJxAKI28tKU+WljYPbXQrI=', 'lètmein'],
  ['pbkdf2_sha1$1000000$cZS2q61n7pmIKgpVR1AbdN$k2IQMjnKzM8UBoW7e6aggYsNvuc=', ''],
  [
    'argon2$argon2id$v=19$m=102400,t=2,p=8$MjUxVkJpOVB4WVp2djdOSERlQmk5Qw$11mqjqymgIjPEOjWHUU2WD8DiSJnGU0yRC60ixxFiWc',
    'lètmein',
  ],
  ['bcrypt_sha256$$2b$05$7vZvmKB5lMCdth9fQDnSCOIcrSw2ZLZsgvqctgS/Vd2Jv6XZmikEK', 'lètmein'],
  ['bcrypt_sha256$$2b$05$EGWVtCBHkuTIl0lbXqDyU.M2QRAVLWi7GFJJNDJs/5P91nXOf2J1.', ''],
  ['bcrypt$$2b$05$RgjDBWU7yHx24jT/pEOIh.n5mNY9XDAqeNNAckhMnxqNXAdUEcTBK', 'lètmein'],
  [
    'scrypt$16384$JDZhHars5gMpeMAxkEUG14$8$5$TKp0GHr7MpgOeofaIh4ECag59BCklvuoLC793lyTLCL9bRoUGW+2C5yA3vm8+Ctg6mt4QGWTg8mLrGG6dbOH7w==',
    'lètmein',
  ],
];

/** The password of Django's test that bcrypt_sha256 does not cut off after 72 bytes. */
const LONG = 'VSK0UYV6FFQVZ0KG88DYN9WADAADZO1CTSIVDJUNZSUML6IBX7LN7ZS3R5JGB3RGZ7VI7G7DJQ9NI8BQFSRPTG6UWTTVESA5ZPUN';
const LONG_ENCODED = 'bcrypt_sha256$$2b$05$E3mNZq7x2ISkkpknvVNoEe8tv6fhwf/LMg/faQp.343yjoSWwFVM.';

const HASH = '8xBlGd3jVgvJ+92hWPxi5ww0uuAuAnKgC45eudxro7c=';
const CHEAP = `pbkdf2_sha256$1$salt$${HASH}`;

describe('verifyDjangoPassword', () => {
  it.each(VECTORS)('accepts the right password only: %s', async (encoded, password) => {
    await expect(verifyDjangoPassword(password, encoded)).resolves.toBe(true);
    await expect(verifyDjangoPassword(`${password}z`, encoded)).resolves.toBe(false);
  });

  it('does not cut off a long password of bcrypt_sha256', async () => {
    await expect(verifyDjangoPassword(LONG, LONG_ENCODED)).resolves.toBe(true);
    await expect(verifyDjangoPassword(LONG.slice(0, 72), LONG_ENCODED)).resolves.toBe(false);
  });

  it('cuts off a long password of bcrypt after 72 bytes, as the library of Django did', async () => {
    const { hash } = await import('@node-rs/bcrypt');
    const encoded = `bcrypt$${await hash(LONG.slice(0, 72), 4)}`;
    await expect(verifyDjangoPassword(LONG, encoded)).resolves.toBe(true);
    await expect(verifyDjangoPassword(LONG.slice(0, 71), encoded)).resolves.toBe(false);
  });

  it.each([
    undefined,
    null,
    '',
    '!',
    '!LQ5v5RTp0zNTPzGZ8hUTZmJ4Wm1fTm7vYp0sVQtP',
    'md5$seasalt$3f86d0d3d465b7b458c231bf3555c0e3',
    'lètmein',
    'pbkdf2_sha256$0$salt$8xBlGd3jVgvJ+92hWPxi5ww0uuAuAnKgC45eudxro7c=',
    'pbkdf2_sha256$1$salt$',
    'pbkdf2_sha256$1$salt$AAAA',
    'scrypt$1$salt$8$1$AAAA',
    'argon2$argon2id$v=19$nonsense',
    'bcrypt$$2b$99$RgjDBWU7yHx24jT/pEOIh.n5mNY9XDAqeNNAckhMnxqNXAdUEcTBK',
    'constructor$x',
  ])('refuses an unusable password and an unknown format: %s', async (encoded) => {
    await expect(verifyDjangoPassword('lètmein', encoded, CHEAP)).resolves.toBe(false);
    await expect(verifyDjangoPassword('', encoded, CHEAP)).resolves.toBe(false);
  });

  it('does the same work without a usable password', async () => {
    const like = `pbkdf2_sha256$100000$salt$${HASH}`;
    const timeOf = async (encoded: string | null) => {
      const before = process.cpuUsage();
      await verifyDjangoPassword('lètmein', encoded, like);
      return process.cpuUsage(before).user;
    };
    const unusable = [null, '!', 'unknown$1'];
    const times = new Map<string | null, number>([like, ...unusable].map((encoded) => [encoded, Infinity]));
    // In turns, so that a machine that becomes slower or faster meanwhile does so for all of them.
    for (let turn = 0; turn < 10; turn++)
      for (const [encoded, least] of times) times.set(encoded, Math.min(least, await timeOf(encoded)));
    // Without the work, the ratio would be a hundredth.
    const ratios = unusable.map((encoded) => Number(times.get(encoded)) / Number(times.get(like)));
    expect(Math.min(...ratios)).toBeGreaterThan(0.4);
    expect(Math.max(...ratios)).toBeLessThan(2.5);
  });

  it('says so if the third argument is no encoded password', async () => {
    await expect(verifyDjangoPassword('lètmein', null, 'a text')).rejects.toThrow(
      'the third argument must be an encoded',
    );
  });
});

describe('needsRehash', () => {
  it.each([
    ['pbkdf2_sha256$1000000$dGkN4MDFhQuTcsCMXHKVKG$7Imse3+tMMX7Wm8QCyr9TsYIQUWaPnWlRC1+hxSW8qM=', false],
    ['pbkdf2_sha256$260000$ZxbU5y47LIBP5L4UyAzMSU$IolhG1DPIsc7iNo5z9xTCZu67+4bM0swUHLe7Wq2E9Q=', true],
    ['pbkdf2_sha1$1000000$Z6DuCV6xxPSo8ESnR7qSxw$5lBNYBJxAKI28tKU+WljYPbXQrI=', true],
    ['argon2$argon2id$v=19$m=102400,t=2,p=8$Y041dExhNkljRUUy$TMa6A8fPJhCAUXRhJXCXdw', false],
    ['argon2$argon2i$v=19$m=102400,t=2,p=8$Y041dExhNkljRUUy$TMa6A8fPJhCAUXRhJXCXdw', true],
    ['argon2$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$YC9+jJCrQhs5R6db7LlN8Q', true],
    ['bcrypt_sha256$$2b$12$7vZvmKB5lMCdth9fQDnSCOIcrSw2ZLZsgvqctgS/Vd2Jv6XZmikEK', false],
    ['bcrypt_sha256$$2b$05$7vZvmKB5lMCdth9fQDnSCOIcrSw2ZLZsgvqctgS/Vd2Jv6XZmikEK', true],
    ['bcrypt$$2b$12$RgjDBWU7yHx24jT/pEOIh.n5mNY9XDAqeNNAckhMnxqNXAdUEcTBK', true],
    [VECTORS[1][0], true],
    [VECTORS.at(-1)?.[0] as string, false],
    ['md5$seasalt$3f86d0d3d465b7b458c231bf3555c0e3', true],
    ['!unusable', false],
  ])('%s: %s', (encoded, expected) => {
    expect(needsRehash(encoded)).toBe(expected);
  });
});

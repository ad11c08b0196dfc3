/** Values for the examples in the documentation of the routes. They look real and belong together. */
export const EXAMPLES = {
  sessionId: '01a20c9f-d0d0-7c43-9f6e-2d8a4b7e1c05',
  otherSessionId: '01a1fa79-16c5-7e9b-8a54-6f0c3d9b7e21',
  /** Shortened: a real token has about 300 characters. */
  accessToken: 'eyJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoiYWNjZXNzIn0.Jv5mO2k',
  refreshToken: 'eyJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCJ9.x9Qa4Zw',
  tokenId: '5f1c0e9a7b3d42688d0f6a1e9c2b7d34',
  userName: 'alice@example.com',
  userAgent: 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0',
  createdAt: '2026-11-24T08:15:30.000Z',
  lastUpdate: '2026-11-27T17:02:11.482Z',
  expiresAt: '2026-12-24T08:15:30.000Z',
} as const;

import { expect, test } from '@jest/globals';
import { normalizedUri } from '../../../lib/binding/dpop-uri.js';

test.each([
  ['HTTPS://App.Example/Notes', 'https://app.example/Notes'],
  ['https://app.example', 'https://app.example/'],
  ['https://app.example:443/', 'https://app.example/'],
  ['http://app.example:80/', 'http://app.example/'],
  ['https://app.example:8443/', 'https://app.example:8443/'],
  ['https://app.example/a/./b/../c', 'https://app.example/a/c'],
  ['https://app.example/%2e%2E/c', 'https://app.example/c'],
  ['https://app.example/%7euser/%c3%a9', 'https://app.example/~user/%C3%A9'],
  ['https://app.example/a%2fb', 'https://app.example/a%2Fb'],
  ['https://app.example/a?b=c#d', 'https://app.example/a'],
  ['https://app.example//a', 'https://app.example//a'],
  ['wss://app.example/socket', 'https://app.example/socket'],
  ['ws://localhost:3000/socket', 'http://localhost:3000/socket'],
])('%s is %s', (uri, expected) => {
  expect(normalizedUri(uri)).toBe(expected);
});

test.each([
  '',
  '/notes',
  'app.example/notes',
  'https:app.example/notes',
  'https:/app.example/notes',
  'https:///app.example/notes',
  'https:\\\\app.example\\notes',
  'https://app.example/no tes',
  'https://app.example/no\ttes',
  ' https://app.example/notes',
  'https://app.example/é',
  'https://user@app.example/notes',
  'https://:password@app.example/notes',
  'ftp://app.example/notes',
  'file:///notes',
  'https://app.example:99999/',
])('%j is no URI of a request', (uri) => {
  expect(normalizedUri(uri)).toBeUndefined();
});

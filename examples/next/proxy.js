import { middleware } from './session.js';

export default function proxy(request) {
  return middleware(request);
}

export const config = { matcher: ['/'] };

import { Buffer } from 'node:buffer';
import type { Readable } from 'node:stream';

/** A request as far as its body is concerned. Express passes the one of Node.js, Fastify a wrapper with a parsed body. */
interface BodyCarrier {
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string | string[] | undefined>>;
}

const MAX_BYTES = 65_536;

/**
 * Returns the body of a request, parsed or as text. Reads it if no parser of the application has done so.
 * @returns undefined if there is none, it is too long, or it was read by something else
 */
export async function bodyOf(request: BodyCarrier): Promise<unknown> {
  const { body } = request;
  if (Buffer.isBuffer(body)) return body.toString('utf8');
  if (body !== undefined) return body;
  const stream = request as Partial<Readable>;
  if (typeof stream[Symbol.asyncIterator] !== 'function' || stream.readable !== true || stream.readableDidRead)
    return undefined;
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream as Readable) {
    size += (chunk as Buffer).length;
    if (size > MAX_BYTES) return undefined;
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** Returns a field of a form. Undefined if it is missing or was sent several times. */
export async function formFieldOf(request: BodyCarrier, name: string): Promise<string | undefined> {
  const body = await bodyOf(request);
  if (typeof body === 'string') {
    const fields = new URLSearchParams(body).getAll(name);
    return fields.length === 1 ? fields[0] : undefined;
  }
  const field = (body as Readonly<Record<string, unknown>> | null | undefined)?.[name];
  return typeof field === 'string' ? field : undefined;
}

/** Returns a JSON body. Undefined if there is none or it is malformed. */
export async function jsonOf(request: BodyCarrier): Promise<unknown> {
  const body = await bodyOf(request);
  if (typeof body !== 'string') return body;
  try {
    return JSON.parse(body) as unknown;
  } catch {
    return undefined;
  }
}

// Preloaded into a process: at its end it writes to REQUEST_COUNT_FILE how many requests it took, and how many it answered.
import { subscribe } from 'node:diagnostics_channel';
import { writeFileSync } from 'node:fs';

const count = { taken: 0, answered: 0 };
subscribe('http.server.request.start', () => void count.taken++);
subscribe('http.server.response.finish', () => void count.answered++);
process.on('exit', () => writeFileSync(process.env.REQUEST_COUNT_FILE, JSON.stringify(count)));

// Preloaded into a process. When it exits, it writes to REQUEST_COUNT_FILE how many requests it read and answered.
import { subscribe } from 'node:diagnostics_channel';
import { writeFileSync } from 'node:fs';

const count = { taken: 0, answered: 0 };
subscribe('http.server.request.start', () => void count.taken++);
subscribe('http.server.response.finish', () => void count.answered++);
process.on('exit', () => writeFileSync(process.env.REQUEST_COUNT_FILE, JSON.stringify(count)));

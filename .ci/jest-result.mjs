/**
 * Prints the numbers of a run of Jest, and the failures before them: `node .ci/jest-result.mjs <result> <failures>`.
 * Skipped tests and files that could not run count as failed.
 * @param result the file that Jest wrote with `--json --outputFile`
 * @param failures a file to which the failed tests and their messages are added
 */
import { appendFileSync, readFileSync } from 'node:fs';
import { relative } from 'node:path';
import { stripVTControlCharacters } from 'node:util';

/** The first lines of a message say what is wrong. */
const MAX_LINES = 15;

const [resultFile, failuresFile] = process.argv.slice(2);
const result = JSON.parse(readFileSync(resultFile, 'utf8'));
for (const { name, message, assertionResults } of result.testResults) {
  const failed = assertionResults.filter(({ status }) => status === 'failed');
  for (const { fullName, failureMessages } of failed) tell(name, fullName, failureMessages.join('\n'));
  if (failed.length === 0 && message) tell(name, 'could not run', message);
}
const leftOut = result.numPendingTests + result.numTodoTests;
if (leftOut > 0) console.log(`${leftOut} tests were skipped`);
const failed = result.numFailedTests + result.numRuntimeErrorTestSuites + leftOut;
console.log(`${result.numPassedTests} passed, ${failed} failed`);
if (failed > 0) process.exitCode = 1;

function tell(file, title, message) {
  const lines = stripVTControlCharacters(message)
    .split('\n')
    .filter((line) => line.trim() && !/^\s+at /.test(line));
  const shown = [...lines.slice(0, MAX_LINES), ...(lines.length > MAX_LINES ? ['…'] : [])];
  const text = [`${relative('.', file)}: ${title}`, ...shown.map((line) => `    ${line}`)].join('\n');
  appendFileSync(failuresFile, `${text}\n`);
}

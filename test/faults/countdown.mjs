/** A logger that kills the process at a certain statement. TypeORM calls its logger before it sends one. */
export class Countdown {
  statements = [];
  killBefore = Infinity;
  logQuery(statement) {
    this.statements.push(statement);
    if (this.statements.length === this.killBefore) process.kill(process.pid, 'SIGKILL');
  }
  logQueryError() {}
  logQuerySlow() {}
  logSchemaBuild() {}
  logMigration() {}
  log() {}
}

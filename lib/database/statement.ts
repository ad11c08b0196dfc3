/** A column of the rows that a statement returns. */
export interface StoredColumn {
  /** The property of the entity. */
  readonly property: string;
  /** Its name in the database. */
  readonly name: string;
  /** Converts the driver's value into the property's. */
  readonly read: (value: unknown) => unknown;
}

/** A statement in the form that is sent. */
export interface SentStatement {
  /** Identifies the text, for databases that prepare a statement once for each connection. */
  readonly name: string;
  readonly text: string;
  /** The columns of its rows, in order. */
  readonly columns: readonly StoredColumn[];
  /** Returns an error if the answer must not be used. Default: every answer may be used. */
  readonly faultOf?: (answer: Answer) => Error | undefined;
}

/** The outcome of a statement. */
export interface Answer {
  /** The values of each row, in the order of the statement's columns. */
  readonly rows: readonly (readonly unknown[])[];
  readonly affected: number;
}

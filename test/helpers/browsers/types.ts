/** A page in a tab of its own. */
export interface TestPage {
  goto(url: string): Promise<void>;
  /**
   * Runs a function in the page, which gets and returns JSON. It must not take long: while it runs, WebKit runs no other one.
   * @returns what the function returned
   */
  evaluate<Argument, Result>(work: (argument: Argument) => Result, argument?: Argument): Promise<Result>;
  /** Makes it the tab that the user sees. */
  show(): Promise<void>;
  close(): Promise<void>;
}

/** A real browser with a new profile. */
export interface TestBrowser {
  /** Opens a tab. */
  open(url: string): Promise<TestPage>;
  /** Stops the processes that run pages, until the function that is returned is called. Other processes go on. */
  freeze(): () => void;
  close(): Promise<void>;
}

/** How to launch a browser. */
export interface LaunchOptions {
  /** Whether a page may use cookies of another site. Not every browser allows that by default, so it is always set. */
  readonly thirdPartyCookies: boolean;
}

/** The injection token of what was checked at start. */
export const CHECK = 'MULTI_SESSION_START_CHECK';

/** The injection token of the checked options. */
export const CONFIG = 'MULTI_SESSION_CONFIG';

/** The injection token of the object graph. */
export const ENGINE = 'MULTI_SESSION_ENGINE';

/**
 * Removes spaces and tabs around a part of a header: the only white space that HTTP allows there (RFC 9110 section 5.6.3).
 *
 * `String.prototype.trim` would also remove characters such as U+00A0, which Node makes of the raw byte A0. A browser takes
 * that byte for a part of the name, so that a sibling host may set a cookie whose name begins with `\xA0__Host-`.
 */
export function trimOws(text: string): string {
  let [start, end] = [0, text.length];
  while (start < end && isOws(text.charCodeAt(start))) start++;
  while (end > start && isOws(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

function isOws(code: number): boolean {
  return code === 0x20 || code === 0x09;
}

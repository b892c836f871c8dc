/** Reads `WWW-Authenticate`: how a registry wants to be asked (RFC 9110, section 11.6.1). */

export interface Challenge {
  /** In lower case: `bearer`, `basic`. */
  readonly scheme: string;
  /** Values by their names in lower case. */
  readonly parameters: ReadonlyMap<string, string>;
}

/** Reads all challenges. What is malformed ends the list. */
export function parseChallenges(header: string): Challenge[] {
  const parameter = /[\s,]*([\w!#$%&'*+.^`|~-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))/y;
  const scheme = /[\s,]*([A-Za-z][\w-]*)(?=[\s,]|$)/y;
  const challenges: { scheme: string; parameters: Map<string, string> }[] = [];
  for (let at = 0; at < header.length;) {
    parameter.lastIndex = at;
    scheme.lastIndex = at;
    const [, name, quoted, plain = ""] = parameter.exec(header) ?? [];
    if (name !== undefined) {
      challenges.at(-1)?.parameters.set(name.toLowerCase(), quoted?.replaceAll(/\\(.)/g, "$1") ?? plain);
      at = parameter.lastIndex;
      continue;
    }
    const [, found] = scheme.exec(header) ?? [];
    if (found === undefined) return challenges;
    challenges.push({ scheme: found.toLowerCase(), parameters: new Map() });
    at = scheme.lastIndex;
  }
  return challenges;
}

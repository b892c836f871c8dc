/** The names under which the service answers (`STOWAGE_HOSTS`). */

/** Names of this machine in requests. No page of another site can have one of these names. */
const loopbackHosts = ["localhost", "127.0.0.1", "[::1]"];

export const hostForm = "names such as stowage.example, with commas or spaces between them";

/** Names between commas or spaces. A port is dropped: it is no part of a name. Undefined if a name cannot be used. */
export function parseHosts(text: string): readonly string[] | undefined {
  const hosts = text.split(/[\s,]+/).filter((host) => host !== "");
  const names = hosts.map((host) => host.toLowerCase().replace(/:\d+$/, ""));
  const isName = (name: string): boolean => /^(?:[a-z0-9_](?:[a-z0-9._-]{0,252})|\[[0-9a-f:.]{2,45}\])$/.test(name);
  return names.length > 0 && names.every(isName) ? names : undefined;
}

/** Adds the names of this machine, and the address that the service listens on. */
export function withOwnNames(hosts: readonly string[], address: string): readonly string[] {
  return [...new Set([...loopbackHosts, urlHost(address), ...hosts])];
}

/** The host as it is written in a URL. */
function urlHost(host: string): string {
  return host.includes(":") && !host.startsWith("[") ? `[${host}]` : host.toLowerCase();
}

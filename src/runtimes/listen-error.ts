/** Says why a service cannot listen, and which setting mends that. */
import type { Config } from "../config.ts";
import { messageOf } from "../errors.ts";

/** The error to throw instead of what a platform has thrown. */
export function listenError(error: unknown, { host, port }: Pick<Config, "host" | "port">): Error {
  const code = codeOf(error);
  const reason = reasons[code] ?? `${messageOf(error)}; HOST and PORT say where it listens`;
  return new Error(`Cannot listen on ${host}, port ${port}: ${reason}`, { cause: error });
}

const reasons: Readonly<Record<string, string>> = {
  EADDRINUSE: "another program has the port; PORT or --port names another, 0 takes any that is free",
  EACCES: "the system does not allow this port; PORT or --port names another, those below 1024 are often reserved",
  EADDRNOTAVAIL: "this machine does not have that address; HOST or --host names another",
  ENOTFOUND: "there is no such address; HOST or --host names another",
};

/** Deno names its errors. */
const codesOfDeno: Readonly<Record<string, string>> = {
  AddrInUse: "EADDRINUSE",
  AddrNotAvailable: "EADDRNOTAVAIL",
  PermissionDenied: "EACCES",
};

function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return "";
  if ("code" in error && typeof error.code === "string") return error.code;
  return codesOfDeno[error.name] ?? "";
}

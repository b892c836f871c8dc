/**
 * Finds the `Authorization` header for each request to one registry: a fixed token, Basic, or tokens of its token
 * service.
 */
import type { Clock } from "../clock.ts";
import { SharedWork } from "../streams/batches.ts";
import { type Credentials, authorizationOf } from "./credentials.ts";
import { askToken } from "./token-service.ts";

/** Tokens that are kept: one for each repository that was read. */
const maxTokens = 1000;

/** A renewal takes less time. */
const maxRenewalMs = 60_000;

/** A token for registries that ask for credentials of one realm. No other registry gets it. */
export interface RealmToken {
  readonly realm: string;
  /** Returns a token that is valid now. Called again when the registry refuses the former one. */
  readonly find: () => Promise<string>;
}

export interface AuthorizerOptions {
  /** The registry's URL. */
  readonly registry: URL;
  readonly credentials: Credentials | undefined;
  readonly realmToken: RealmToken | undefined;
  /** Finds credentials when the registry asks for them. */
  readonly findCredentials: ((host: string) => Promise<Credentials | undefined>) | undefined;
  readonly maxIdleSeconds: number;
  readonly clock: Clock;
}

export class Authorizer {
  readonly #options: AuthorizerOptions;
  /** By scope, the header that the registry took last. */
  readonly #headers = new Map<string, string>();
  /** By scope. */
  readonly #renewals = new SharedWork<string | undefined>(maxRenewalMs);
  #credentials: Promise<Credentials | undefined> | undefined;
  /** No credentials are known. */
  isAnonymous = false;

  constructor(options: AuthorizerOptions) {
    this.#options = options;
  }

  /** The header for a scope, such as `repository:acme/app:pull`. Undefined if the registry has not asked for one. */
  headerFor(scope: string): string | undefined {
    const { credentials } = this.#options;
    const isToken = credentials !== undefined && "token" in credentials;
    return isToken ? authorizationOf(credentials) : this.#headers.get(scope);
  }

  /**
   * The header after a 401. `used` is the header of that request. Undefined if there is no better one: the answer is
   * then final. Throws if the token service gives no token.
   */
  async renew(
    challenge: string | null,
    {
      scope,
      used,
      signal,
    }: { readonly scope: string; readonly used: string | undefined; readonly signal: AbortSignal },
  ): Promise<string | undefined> {
    const renew = async (): Promise<string | undefined> => {
      const current = this.headerFor(scope);
      if (current !== used) return current; // another request has renewed it meanwhile
      return this.#keep(scope, await this.#answerTo(parseChallenges(challenge ?? ""), scope));
    };
    const header = await this.#renewals.resultOf(scope, renew, signal);
    return header === used ? undefined : header;
  }

  #keep(scope: string, header: string | undefined): string | undefined {
    if (header === undefined) return undefined;
    const [oldest] = this.#headers.keys();
    if (this.#headers.size >= maxTokens && oldest !== undefined) this.#headers.delete(oldest);
    this.#headers.set(scope, header);
    return header;
  }

  async #answerTo(challenges: readonly Challenge[], scope: string): Promise<string | undefined> {
    const { credentials: given, realmToken } = this.#options;
    if (given === undefined && realmToken !== undefined && isAsked(realmToken, challenges)) {
      this.isAnonymous = false;
      return authorizationOf({ token: await realmToken.find() });
    }
    const credentials = await this.#findCredentials();
    this.isAnonymous = credentials === undefined;
    if (credentials !== undefined && "token" in credentials) return authorizationOf(credentials);
    const bearer = challenges.find(({ scheme, parameters }) => scheme === "bearer" && parameters.has("realm"));
    if (bearer !== undefined) return askToken({ ...this.#options, ...bearer, credentials, scope });
    const isBasic = challenges.some(({ scheme }) => scheme === "basic");
    return isBasic && credentials !== undefined ? authorizationOf(credentials) : undefined;
  }

  async #findCredentials(): Promise<Credentials | undefined> {
    const { credentials, findCredentials, registry } = this.#options;
    this.#credentials ??= credentials === undefined ? findCredentials?.(registry.host) : Promise.resolve(credentials);
    return this.#credentials;
  }
}

function isAsked({ realm }: RealmToken, challenges: readonly Challenge[]): boolean {
  return challenges.some(({ parameters }) => parameters.get("realm") === realm);
}

/** How a registry wants to be asked. */
interface Challenge {
  /** In lower case: `bearer`, `basic`. */
  readonly scheme: string;
  /** Values by their names in lower case. */
  readonly parameters: ReadonlyMap<string, string>;
}

/** Reads the challenges of a `WWW-Authenticate` (RFC 9110, section 11.6.1). What is malformed ends the list. */
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

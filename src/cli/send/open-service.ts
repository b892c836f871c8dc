/** From `--to` and the environment to the service that is meant. */
import { StowageError } from "../../errors.ts";
import type { Environment } from "../../settings.ts";
import { ServiceClient } from "./service-client.ts";

/**
 * The service at a URL such as `https://stowage.example` or `https://ci:TOKEN@stowage.example`; without user info the
 * token is STOWAGE_TOKEN. Throws `INPUT_INVALID`, without any of the token in it.
 */
export function openService(text: string, env: Environment): ServiceClient {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    throw new StowageError(
      "INPUT_INVALID",
      `Cannot use ${JSON.stringify(withoutUserInfo(text))} as the service's URL: expected such as http://127.0.0.1:8080`,
    );
  }
  return new ServiceClient(url, tokenOf(url, env));
}

function withoutUserInfo(text: string): string {
  return text.replace(/\/\/.*@/s, "//");
}

function tokenOf(url: URL, env: Environment): string | undefined {
  if (url.username === "" && url.password === "") {
    const token = env["STOWAGE_TOKEN"] ?? "";
    return token === "" ? undefined : checkToken(token, "STOWAGE_TOKEN");
  }
  if (url.password === "") {
    throw new StowageError(
      "INPUT_INVALID",
      "the service's URL has a user without a token, expected http://USER:TOKEN@…",
    );
  }
  return checkToken(decodePercents(url.password), "the token in the service's URL");
}

function decodePercents(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function checkToken(token: string, where: string): string {
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw new StowageError("INPUT_INVALID", `${where} has characters that no token has, such as spaces or line ends`);
}

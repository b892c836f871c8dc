/** Opens a service or a registry, with the credentials for it. */
import { StowageError } from "../errors.ts";
import type { ImageName } from "../oci/reference.ts";
import { dockerCredentials } from "../remote/docker-credentials.ts";
import type { ImageSource } from "../remote/image-source.ts";
import { type RegistryAddress, parseRegistryAddress } from "../remote/registry-address.ts";
import { RegistrySource, type RegistrySourceOptions } from "../remote/registry-source.ts";
import { RegistryWriter } from "../remote/registry-writer.ts";
import { type CommandIo, readName } from "./command.ts";
import { tokenSourceOf } from "./token-source.ts";

/** A registry to read from. */
export interface OpenRegistry {
  readonly source: ImageSource;
  readonly layout: undefined;
  /** The image in an address such as `docker://ghcr.io/acme/app:1`, as the registry knows it. */
  readonly image: ImageName | undefined;
}

/** Opens a service or a registry. Throws `INPUT_INVALID`, without any secret in the message. */
export function openRegistry(url: string, io: CommandIo): OpenRegistry {
  const address = readName(url, parseRegistryAddress);
  return { source: new RegistrySource(address, credentialsFor(address, io)), layout: undefined, image: address.image };
}

/** Opens a service or a registry to write into. Throws `INPUT_INVALID`, without any secret in the message. */
export function openWritableRegistry(url: string, io: CommandIo): WritableRegistry {
  const address = readName(url, parseRegistryAddress);
  if (address.image !== undefined)
    throw new StowageError("INPUT_INVALID", "found docker:// as --to, expected https://HOST");
  const options = credentialsFor(address, io);
  return { source: new RegistrySource(address, options), writer: new RegistryWriter(address, options) };
}

/** A registry to read from and to write into. */
export interface WritableRegistry {
  readonly source: ImageSource;
  readonly writer: RegistryWriter;
}

/** The realm of a service's challenge (`http/error-response.ts`). */
const serviceRealm = "Stowage";

/** The token of the environment is for a service at a URL, if it asks for a token. No other registry gets it. */
function credentialsFor({ url, image, credentials }: RegistryAddress, io: CommandIo): RegistrySourceOptions {
  const findToken = image === undefined && credentials === undefined ? tokenSourceOf(io) : undefined;
  const noLogin = `"docker login ${new URL(url).host}" was not run`;
  return {
    ...(findToken && { realmToken: { realm: serviceRealm, find: findToken } }),
    findCredentials: dockerCredentials(io.env),
    credentialsHint: image === undefined ? `STOWAGE_TOKEN is not set, and ${noLogin}` : noLogin,
  };
}

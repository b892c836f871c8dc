/** An image's config (image specification, "Image Configuration"), as far as Stowage looks into it. */
import { messageOf, StowageError } from "../errors.ts";
import { platformOf, stringsOf } from "./descriptor.ts";
import { describeJson, isJsonObject, parseJson } from "./json.ts";

export const ociConfigType = "application/vnd.oci.image.config.v1+json";

/** The digests of the image's unpacked layers, from the first to the last. Throws `MANIFEST_INVALID`. */
export function parseDiffIds(bytes: Uint8Array, name: string): readonly string[] {
  const json = parse(bytes, name);
  const rootfs = isJsonObject(json) ? json["rootfs"] : undefined;
  // Docker leaves an empty list out, or writes `null`
  const diffIds = isJsonObject(rootfs) ? (rootfs["diff_ids"] ?? []) : undefined;
  if (Array.isArray(diffIds) && diffIds.every((id) => typeof id === "string")) return diffIds;
  throw invalid(name, `found ${describeJson(diffIds)} as rootfs.diff_ids, expected a list of digests`);
}

/** What a config tells people about its image. */
export interface ConfigSummary {
  /** When the image was made, RFC 3339. */
  readonly created?: string | undefined;
  readonly platform?: string | undefined;
  /** The command that made each layer, from the first to the last. Steps without a layer are left out. */
  readonly history: readonly string[];
}

/** Reads a summary, and skips what cannot be read: the summary is only shown to people. */
export function summarizeConfig(bytes: Uint8Array): ConfigSummary {
  let json: unknown;
  try {
    json = parseJson(bytes);
  } catch {
    return { history: [] };
  }
  if (!isJsonObject(json)) return { history: [] };
  const { created, history } = json;
  const steps: readonly unknown[] = Array.isArray(history) ? history : [];
  return {
    created: typeof created === "string" && !Number.isNaN(Date.parse(created)) ? created : undefined,
    platform: platformOf(json),
    history: steps.filter(isJsonObject).flatMap((step) => {
      if (step["empty_layer"] === true) return [];
      return typeof step["created_by"] === "string" ? step["created_by"] : "";
    }),
  };
}

/** How a container of the image starts (image specification, "Image Configuration", `config`). */
export interface RunConfig {
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
  /** `NAME=value` each. */
  readonly env: readonly string[];
  /** Such as `8080/tcp`. */
  readonly ports: readonly string[];
  readonly user: string | undefined;
  readonly workingDir: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
}

/** Reads how a container starts, and skips what cannot be read. Undefined if the config says nothing about it. */
export function readRunConfig(bytes: Uint8Array): RunConfig | undefined {
  let json: unknown;
  try {
    json = parseJson(bytes);
  } catch {
    return undefined;
  }
  const config = isJsonObject(json) ? json["config"] : undefined;
  if (!isJsonObject(config)) return undefined;
  const { Entrypoint, Cmd, Env, ExposedPorts, User, WorkingDir, Labels } = config;
  return {
    entrypoint: stringsIn(Entrypoint),
    command: stringsIn(Cmd),
    env: stringsIn(Env),
    ports: isJsonObject(ExposedPorts) ? Object.keys(ExposedPorts) : [],
    user: typeof User === "string" && User !== "" ? User : undefined,
    workingDir: typeof WorkingDir === "string" && WorkingDir !== "" ? WorkingDir : undefined,
    labels: isJsonObject(Labels) ? stringsOf(Labels) : {},
  };
}

function stringsIn(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];
}

function parse(bytes: Uint8Array, name: string): unknown {
  try {
    return parseJson(bytes);
  } catch (error) {
    throw invalid(name, messageOf(error), error);
  }
}

function invalid(name: string, reason: string, cause?: unknown): StowageError {
  return new StowageError("MANIFEST_INVALID", `Cannot read the config "${name}": ${reason}`, { cause });
}

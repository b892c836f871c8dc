/** The lists on the page of an image: platforms, layers, config, annotations. Each list has a longest length. */
import type { Child } from "hono/jsx";
import { formatBytes, formatCount } from "../format-bytes.ts";
import { platformOf } from "../oci/descriptor.ts";
import type { RunConfig } from "../oci/image-config.ts";
import type { ImageIndex } from "../oci/manifest.ts";
import type { ImageDetails } from "../registry/describe-image.ts";
import { ForeignText, shortReference } from "./parts.tsx";
import { type ImageFacts, maxParts } from "./read-image.ts";
import { type View, exportUrl, imageUrl } from "./view.ts";

/** Real images have at most 127 layers. */
const maxLayers = 200;

/** Annotations, labels or variables. */
const maxTexts = 100;

interface PlatformsProps {
  readonly view: View;
  readonly name: string;
  readonly reference: string;
  readonly facts: ImageFacts;
  readonly index: ImageIndex;
}

export function Platforms({ view, name, reference, facts, index }: PlatformsProps): Child {
  const known = new Map((facts.details.manifests ?? []).map((part) => [part.digest, part]));
  const shown = index.manifests.slice(0, maxParts);
  return (
    <section>
      <h2>
        Platforms <small>{facts.details.platforms.length}</small>
      </h2>
      <ul class="rows">
        {shown.map((part) => {
          const details = known.get(part.digest);
          const platform = platformOf(part.platform);
          const isImage = platform !== undefined && !platform.startsWith("unknown/");
          return (
            <li>
              <a class="name" href={imageUrl(view, name, part.digest)}>
                <ForeignText text={isImage ? platform : kindOf(part.annotations)} most={60} />
              </a>
              <span class="meta">
                {details === undefined ? (
                  <span>not in this store</span>
                ) : (
                  <span>{formatCount(details.layers?.length ?? 0, "layer")}</span>
                )}
                {details !== undefined && <span class="size">{formatBytes(details.totalSize)}</span>}
                {details !== undefined && isImage && (
                  <a href={exportUrl(view, name, reference, platform)} download aria-label={`Download ${platform}`}>
                    Download
                  </a>
                )}
              </span>
            </li>
          );
        })}
      </ul>
      <More count={index.manifests.length - shown.length} what="manifest" />
    </section>
  );
}

/** BuildKit marks its attestations. */
function kindOf(annotations: Readonly<Record<string, string>> | undefined): string {
  return annotations?.["vnd.docker.reference.type"] === "attestation-manifest" ? "Attestation" : "Manifest";
}

export function Layers({ details }: { readonly details: ImageDetails }): Child {
  const layers = details.layers ?? [];
  if (layers.length === 0) return null;
  return (
    <section>
      <h2>
        Layers <small>{layers.length}</small>
      </h2>
      <ol class="layers">
        {layers.slice(0, maxLayers).map(({ digest, size, mediaType, createdBy = "" }) => (
          <li>
            <span class="made-by">
              {createdBy.trim() === "" ? (
                <ForeignText text={mediaType} most={255} />
              ) : (
                <code>
                  <ForeignText text={withoutBuilder(createdBy)} most={500} />
                </code>
              )}
            </span>
            <span class="meta">
              <code title={digest}>{shortReference(digest)}</code>
              <span class="size">{formatBytes(size)}</span>
            </span>
          </li>
        ))}
      </ol>
      <More count={layers.length - maxLayers} what="layer" />
    </section>
  );
}

/** The step without what each builder puts around it. */
function withoutBuilder(createdBy: string): string {
  const step = createdBy.replaceAll(/\s+/g, " ").trim();
  return step.replace(/^\/bin\/sh -c #\(nop\) /, "").replace(/ # buildkit$/, "");
}

export function ImageConfig({ run }: { readonly run: RunConfig }): Child {
  const { entrypoint, command, env, ports, user, workingDir, labels } = run;
  const facts = {
    ...(entrypoint.length > 0 && { Entrypoint: JSON.stringify(entrypoint) }),
    ...(command.length > 0 && { Command: JSON.stringify(command) }),
    ...(workingDir !== undefined && { "Working directory": workingDir }),
    ...(user !== undefined && { User: user }),
    ...(ports.length > 0 && { Ports: ports.slice(0, maxTexts).join(", ") }),
  };
  const variables = env.map((text) => {
    const equals = text.indexOf("=");
    return equals === -1 ? ([text, ""] as const) : ([text.slice(0, equals), text.slice(equals + 1)] as const);
  });
  return (
    <>
      <TextTable title="Container" texts={facts} />
      <TextTable title="Environment" texts={Object.fromEntries(variables)} />
      <TextTable title="Labels" texts={labels} />
    </>
  );
}

interface TextTableProps {
  readonly title: string;
  readonly texts: Readonly<Record<string, string>> | undefined;
}

/** Names and values. Nothing if there are none. */
export function TextTable({ title, texts = {} }: TextTableProps): Child {
  const entries = Object.entries(texts);
  if (entries.length === 0) return null;
  return (
    <section>
      <h2>{title}</h2>
      <dl class="texts">
        {entries.slice(0, maxTexts).map(([name, value]) => (
          <div>
            <dt>
              <ForeignText text={name} most={255} />
            </dt>
            <dd>
              <ForeignText text={value} />
            </dd>
          </div>
        ))}
      </dl>
      <More count={entries.length - maxTexts} what="entry" plural="entries" />
    </section>
  );
}

function More({
  count,
  what,
  plural,
}: {
  readonly count: number;
  readonly what: string;
  readonly plural?: string;
}): Child {
  return count > 0 ? (
    <p class="muted">And {formatCount(count, `more ${what}`, `more ${plural ?? `${what}s`}`)}.</p>
  ) : null;
}

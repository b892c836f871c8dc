/** `/-/image/<name>/<reference>`: one image, with what a pull of it fetches. */
import type { Context } from "hono";
import type { Child } from "hono/jsx";
import { isDigest } from "../digest.ts";
import { formatBytes } from "../format-bytes.ts";
import { isAllowed, requesterOf, waiterOf } from "../http/authentication.ts";
import { formatReference } from "../oci/reference.ts";
import { sendPage } from "./frame.tsx";
import { ImageConfig, Layers, Platforms, TextTable } from "./image-parts.tsx";
import { Copyable, Crumbs, ForeignText, RepositoryName, When, shortReference, withQuery } from "./parts.tsx";
import { type ImageFacts, type Referrer, readImage } from "./read-image.ts";
import { pullSizeOf } from "./show-repository.tsx";
import { type PageService, type View, deleteUrl, exportUrl, imageUrl } from "./view.ts";

interface ImageName {
  readonly name: string;
  readonly reference: string;
}

export async function showImage(c: Context, pages: PageService, { name, reference }: ImageName): Promise<Response> {
  const after = c.req.query("referrers");
  const { layout } = pages;
  const facts = await pages.line.inTurn(waiterOf(c), async () =>
    readImage(layout, { repository: name, reference, after }, requesterOf(c)),
  );
  const isTagged = !isDigest(reference);
  const mayDelete = isAllowed(c, "delete", name);
  return sendPage(c, pages, {
    title: `${name}${isTagged ? ":" : "@"}${shortReference(reference)}`,
    current: "repositories",
    body: (view) => (
      <>
        <Crumbs view={view} repository={name} />
        <div class="heading">
          <h1>
            <RepositoryName name={name} />
            <wbr />
            <span class="reference">
              {isTagged ? ":" : "@"}
              {shortReference(reference)}
            </span>
          </h1>
          <p class="actions">
            <a class="button" href={exportUrl(view, name, reference)} download>
              Download tarball
            </a>
            {mayDelete && (
              <a class="button danger" href={deleteUrl(view, name, reference)}>
                Delete…
              </a>
            )}
          </p>
        </div>
        <Facts view={view} name={name} facts={facts} now={layout.clock.now()} />
        <PullCommands image={`${view.host}/${formatReference(name, reference)}`} facts={facts} />
        {facts.manifest.kind === "index" ? (
          <Platforms view={view} name={name} reference={reference} facts={facts} index={facts.manifest} />
        ) : (
          <Layers details={facts.details} />
        )}
        {facts.run !== undefined && <ImageConfig run={facts.run} />}
        <TextTable title="Annotations" texts={facts.manifest.annotations} />
        <Referrers view={view} name={name} reference={reference} facts={facts} />
      </>
    ),
  });
}

interface FactsProps {
  readonly view: View;
  readonly name: string;
  readonly facts: ImageFacts;
  readonly now: number;
}

function Facts({ view, name, facts, now }: FactsProps): Child {
  const { digest, mediaType, manifest, details, tags, changed, ends } = facts;
  const created = Date.parse(details.created ?? "");
  return (
    <dl class="facts">
      <Fact name="Pull size">{pullSizeOf(details)}</Fact>
      {manifest.kind === "manifest" && details.platforms.length > 0 && (
        <Fact name="Platform">
          <ForeignText text={details.platforms.join(", ")} most={100} />
        </Fact>
      )}
      {changed !== undefined && (
        <Fact name="Pushed">
          <When ms={changed} now={now} isExact />
        </Fact>
      )}
      {ends !== undefined && (
        <Fact name={ends > now ? "Ends" : "Ended: gc drops it"}>
          <When ms={ends} now={now} isExact />
        </Fact>
      )}
      {/* Reproducible builds have the date 0. */}
      {!Number.isNaN(created) && created > 0 && (
        <Fact name="Built">
          <When ms={created} now={now} isExact />
        </Fact>
      )}
      {manifest.subject !== undefined && (
        <Fact name="Refers to">
          <a class="digest" href={imageUrl(view, name, manifest.subject.digest)}>
            {shortReference(manifest.subject.digest)}
          </a>
        </Fact>
      )}
      {tags.length > 0 && (
        <Fact name="Also tagged" isLong>
          <span class="tags">
            {tags.map((tag) => (
              <a href={imageUrl(view, name, tag)}>{tag}</a>
            ))}
          </span>
        </Fact>
      )}
      <Fact name="Digest" isLong>
        <Copyable text={digest} label="Copy the digest" />
      </Fact>
      <Fact name="Type" isLong>
        <code>
          <ForeignText text={isArtifact(facts) ? (manifest.artifactType ?? mediaType) : mediaType} most={255} />
        </code>
      </Fact>
    </dl>
  );
}

function Fact({ name, isLong, children }: { name: string; isLong?: boolean; children?: Child }): Child {
  return (
    <div class={isLong === true ? "long" : undefined}>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

/** Not an image that runs, but a chart, a signature or the like. */
function isArtifact({ manifest }: ImageFacts): boolean {
  return manifest.kind === "manifest" && !imageConfig.test(manifest.artifactType ?? "");
}

/** The config's media type of an image, which is its `artifactType` if the manifest names none. */
const imageConfig = /(?:oci\.image\.config|docker\.container\.image)\.v1\+json$/;

function PullCommands({ image, facts }: { readonly image: string; readonly facts: ImageFacts }): Child {
  const commands = isArtifact(facts)
    ? { ORAS: `oras pull ${image}`, crane: `crane manifest ${image}` }
    : { Docker: `docker pull ${image}`, Podman: `podman pull ${image}`, crane: `crane pull ${image} image.tar` };
  return (
    <section>
      <h2>Pull</h2>
      <dl class="commands">
        {Object.entries(commands).map(([program, command]) => (
          <div>
            <dt>{program}</dt>
            <dd>
              <Copyable text={command} label={`Copy the command for ${program}`} />
            </dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

interface ReferrersProps extends ImageName {
  readonly view: View;
  readonly facts: ImageFacts;
}

function Referrers({ view, name, reference, facts }: ReferrersProps): Child {
  const { referrers, moreReferrers } = facts;
  if (referrers.length === 0) return null;
  return (
    <section>
      <h2>
        Signatures and other referrers <small>{referrers.length}</small>
      </h2>
      <ul class="rows">
        {referrers.map((referrer) => (
          <li>
            <a class="name" href={imageUrl(view, name, referrer.tag ?? referrer.digest)}>
              <ForeignText text={kindOf(referrer)} most={200} />
            </a>
            <span class="meta">
              <code>{shortReference(referrer.digest)}</code>
              <span class="size">{formatBytes(referrer.size)}</span>
            </span>
          </li>
        ))}
      </ul>
      {moreReferrers !== undefined && (
        <nav class="pager" aria-label="Pages of referrers">
          <span />
          <a href={withQuery(imageUrl(view, name, reference), { referrers: moreReferrers })}>More referrers →</a>
        </nav>
      )}
    </section>
  );
}

/** Words for the types that are common. `docs/using.md` names the programs that make them. */
const kinds: readonly (readonly [RegExp, string])[] = [
  [/cosign|simplesigning|\.sig$/, "Signature of Cosign"],
  [/notary/, "Signature of Notation"],
  [/sigstore\.bundle/, "Sigstore bundle"],
  [/spdx/, "SBOM in SPDX"],
  [/cyclonedx|\.sbom$/, "SBOM in CycloneDX"],
  [/in-toto|\.att$/, "Attestation in in-toto"],
];

function kindOf({ artifactType, tag }: Referrer): string {
  const type = artifactType ?? tag ?? "Referrer";
  return kinds.find(([pattern]) => pattern.test(type))?.[1] ?? type;
}

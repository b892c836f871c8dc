/** `stowage load`: a tarball into a store, or into a running service. */
import { parseArgs } from "node:util";
import { StowageError } from "../errors.ts";
import { parseLoadPath } from "../load/archive-name.ts";
import { loadArchive } from "../load/load-archive.ts";
import type { ImageName } from "../oci/reference.ts";
import { lifetimeForm, parseLifetime } from "../settings/parse-quantity.ts";
import { type Command, type CommandIo, checkCount, checkOneTarget, exitCodes, readName } from "./command.ts";
import { formatBytes, printable } from "./format.ts";
import { type OpenInput, openInput } from "./open-input.ts";
import { openSettings } from "./open-settings.ts";
import { reportChunks, startProgress } from "./progress.ts";
import { type ServiceReceipt, describeFailedCopies, describeReceipt } from "./describe-receipt.ts";
import { sendArchive } from "./send/send-archive.ts";
import { openService } from "./send/service-client.ts";

export const load: Command = {
  help: `Usage: stowage load FILE|- [NAME[:TAG]] [--store URL | --to URL] [OPTIONS]

Loads the images of a tarball, an OCI layout or a docker-archive, plain or compressed
with gzip or zstd, from a file or, with "-", from standard input. They keep the names
that the tarball gives them, unless NAME and TAG say otherwise. Nothing is published
unless all of it is whole; blobs that are there already are not written again.

Options:
  --store URL   load into this store, default STOWAGE_STORE, else file:./data
  --to URL      load into a running service, such as http://127.0.0.1:8080
  --copy-to T   with --to: the service copies the images to these of its targets,
                such as us,ap, if the token allows "copy"; by default to those of its
                STOWAGE_COPY_AFTER_LOAD
  --direct      with --to: send the input as it comes, by one request
  --expires T   the images end after a time such as 72h: the first "stowage gc" after
                that drops them; without it they have no end, even if they had one
  --repair      read the blobs that are there already, and write damaged ones again
  --json        print the receipt as JSON instead of a summary

A service is asked first which blobs it has, and gets only the others. What is
large goes in parts, several at a time, each again if it fails; when that fails,
or the command is ended, run the same again, here or on another machine, and it
goes on where it was. For that the input is read twice: what is no file is kept
meanwhile in a temporary one, in TMPDIR, else /var/tmp. With --direct it is not,
and nothing is asked.

A service that wants a token gets STOWAGE_TOKEN, or the one in a URL such as
https://ci:TOKEN@stowage.example. User and password of a URL go as they are, so
that they also get past a login in front of the service. STOWAGE_TOKEN_FILE names a
file with the token, read before each request. STOWAGE_TOKEN_AUDIENCE is for jobs of
GitHub Actions: the token is the job's identity token for this audience, renewed in
time.

If a target of the service fails, the images stay in the service and in the other
targets, and the exit code is 1: run the same again, and the copies go on.

Progress goes to standard error: a bar on a terminal, some lines otherwise.

Examples:
  docker save team/app:1.4 | stowage load -
  stowage load app.tar team/app:1.4 --store s3://my-bucket/images
  stowage load app.tar.gz --to https://stowage.example
  stowage load app.tar --to https://stowage.example --copy-to us,ap
  stowage load app.tar ci/app:42 --expires 72h
  stowage load app.tar --repair
  stowage load app.tar --json | jq -r '.images[].digest'
`,
  async run(args, io) {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: {
        store: { type: "string" },
        to: { type: "string" },
        "copy-to": { type: "string" },
        direct: { type: "boolean" },
        expires: { type: "string" },
        repair: { type: "boolean" },
        json: { type: "boolean" },
      },
      allowPositionals: true,
    });
    checkCount(positionals, 1, 2, "FILE|- [NAME[:TAG]]");
    const [file = "", nameText] = positionals;
    const name = nameText === undefined ? undefined : readName(nameText, parseArgument);
    const target = await openTarget({ ...values, copyTo: values["copy-to"] }, io);
    const input = await openInput(file, io.stdin);
    const startedMs = Date.now();
    try {
      const receipt = await target.load(input, name);
      const seconds = (Date.now() - startedMs) / 1000;
      io.stdout.write(
        values.json === true
          ? `${JSON.stringify(receipt, undefined, 2)}\n`
          : printable(describeReceipt(receipt, seconds, target.registry)),
      );
      const failed = describeFailedCopies(receipt);
      if (failed.length === 0) return exitCodes.ok;
      const lines = [...failed, "The service itself has the images: run the same again to copy the rest"];
      for (const line of lines) io.stderr.write(printable(`stowage load: ${line}\n`));
      return exitCodes.failed;
    } finally {
      await input.close();
    }
  },
};

/**
 * Parses the image's name. A second file name is a mistake: a service would ignore it, because a file name in the path
 * gives no image name.
 */
function parseArgument(text: string): ImageName {
  const name = parseLoadPath(text);
  if (name !== undefined) return name;
  const message = `found ${JSON.stringify(text)} as the name, which is that of a file; expected FILE|- [NAME[:TAG]]`;
  throw new StowageError("INPUT_INVALID", message);
}

/** A store, in this process, or a running service. */
interface LoadTarget {
  /** The host and port for pulls, if clients can pull. */
  readonly registry?: string | undefined;
  readonly load: (input: OpenInput, name: ImageName | undefined) => Promise<ServiceReceipt>;
}

interface LoadFlags {
  readonly store?: string;
  readonly to?: string;
  readonly copyTo: string | undefined;
  readonly expires?: string;
  readonly direct?: boolean;
  readonly repair?: boolean;
}

/** The store or service that the options name, else the store of the settings. Throws `INPUT_INVALID`. */
async function openTarget(
  { store, to, copyTo, expires, direct = false, repair = false }: LoadFlags,
  io: CommandIo,
): Promise<LoadTarget> {
  const { env, signal } = io;
  if (to === undefined && (direct || copyTo !== undefined)) {
    throw new StowageError("INPUT_INVALID", `found ${direct ? "--direct" : "--copy-to"}, expected --to with it`);
  }
  checkOneTarget({ store, to });
  const expiresInMs = readLifetime(expires);
  if (to === undefined) {
    const { layout, immutableTags } = await openSettings(env, store);
    return {
      load: async (input, name) =>
        inOnePass(input, layout.store.url, io, async (source) =>
          loadArchive(layout, source, { name, immutableTags, expiresInMs, repair, signal }),
        ),
    };
  }
  const service = openService(to, { env, signal, purpose: "load into" });
  const { registry } = service;
  if (!direct)
    return {
      registry,
      load: async (input, name) => sendArchive(input, { service, name, repair, copyTo, expires, io }),
    };
  return {
    registry,
    load: async (input, name) =>
      inOnePass(input, service.name, io, async (source) => {
        const answer = service.put({ source, size: input.size }, { name, repair, copyTo, expires, signal });
        return service.readReceipt(await service.attempt(answer));
      }),
  };
}

function readLifetime(text: string | undefined): number | undefined {
  const ms = text === undefined ? undefined : parseLifetime(text);
  if (text === undefined || ms !== undefined) return ms;
  throw new StowageError("INPUT_INVALID", `found --expires ${JSON.stringify(text)}, expected ${lifetimeForm}`);
}

/** Loads the input as it is read, and shows the progress. `into` names the target in messages. */
async function inOnePass(
  { name, size, source }: OpenInput,
  into: string,
  { stderr }: CommandIo,
  loadFrom: (source: AsyncIterable<Uint8Array>) => Promise<ServiceReceipt>,
): Promise<ServiceReceipt> {
  const length = size === undefined ? "" : ` (${formatBytes(size)})`;
  const progress = startProgress(stderr, { title: `Loading ${name}${length} into ${into}`, totalBytes: size });
  async function* reported(): AsyncGenerator<Uint8Array> {
    yield* reportChunks(source, (bytes) => progress.advance(bytes));
    progress.finish();
  }
  try {
    return await loadFrom(reported());
  } finally {
    progress.stop();
  }
}

/**
 * The image that the tests build with each engine: two layers that differ, one of them larger than a part so that
 * Stowage streams it, and one that comes twice.
 */
import { createHash } from "node:crypto";
import { mkdir, utimes, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { randomBytes } from "../support/bytes.ts";

const blockBytes = 32;
/** Larger than a part (8 MiB), and no compressor makes it smaller. */
const programBlocks = (9 * 1024 * 1024) / blockBytes;

const largeBytes = 30 * 1024 * 1024;

/** The name that every engine gives to the image. */
export const sampleName = "team/app:1.4";

/** Writes a build context with a Dockerfile, and the files for tools that insert them one by one; always the same bytes. */
export async function writeSampleContext(folder: string): Promise<void> {
  await writeContext(folder, pseudoRandomBytes(programBlocks));
}

/** The same with 32 KiB in place of 9 MiB, for tests of many images. */
export async function writeSmallContext(folder: string): Promise<void> {
  await writeContext(folder, pseudoRandomBytes(1024));
}

/** The same with two layers of 30 MiB, for tests that end a push on its way. */
export async function writeLargeContext(folder: string): Promise<void> {
  await writeContext(folder, randomBytes(largeBytes, 1), { "etc/data": randomBytes(largeBytes, 2) });
}

async function writeContext(
  folder: string,
  program: Uint8Array,
  more: Readonly<Record<string, Uint8Array>> = {},
): Promise<void> {
  const files: Readonly<Record<string, string | Uint8Array>> = {
    Dockerfile: "FROM scratch\nCOPY bin /bin\nCOPY etc /etc\nCOPY etc /etc\nLABEL purpose=test\n",
    "bin/program": program,
    "etc/motd": "A tarball in, an image out.\n",
    ...more,
  };
  for (const [name, content] of Object.entries(files)) {
    const path = join(folder, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, content);
    for (const changed of [path, dirname(path)]) await utimes(changed, 0, 0);
  }
}

function pseudoRandomBytes(blockCount: number): Uint8Array {
  const blocks = Array.from({ length: blockCount }, (_, i) => createHash("sha256").update(String(i)).digest());
  return Buffer.concat(blocks);
}

/** Zstandard by hand (RFC 8878), for tests of what a frame claims, on runtimes that have no compressor for it. */

/** One frame of raw blocks. Its window is 2 to the power of `windowLog` bytes, whatever it holds. */
export function zstdFrame(content: Uint8Array, windowLog = 23): Buffer {
  const blocks: Uint8Array[] = [];
  for (let start = 0; start === 0 || start < content.length; start += maxBlockBytes) {
    const block = content.subarray(start, start + maxBlockBytes);
    const header = Buffer.alloc(3);
    header.writeUIntLE(block.length * 8 + Number(start + maxBlockBytes >= content.length), 0, 3);
    blocks.push(header, block);
  }
  return Buffer.concat([Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, (windowLog - 10) << 3]), ...blocks]);
}

const maxBlockBytes = 128 * 1024;

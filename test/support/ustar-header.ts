/** A tar header by hand, for archives that are made while they are sent. */

/** The header of a file: name, mode, owner, size, time, checksum, type and magic (POSIX.1-1988 "ustar"). */
export function ustarHeader(name: string, size: number): Buffer {
  const bytes = Buffer.alloc(512);
  bytes.write(name, 0);
  bytes.write("0000644\0" + "0000000\0".repeat(2), 100);
  bytes.write(`${size.toString(8).padStart(11, "0")}\0${"0".repeat(11)}\0        0`, 124);
  bytes.write("ustar\u000000", 257);
  const sum = bytes.reduce((total, byte) => total + byte, 0);
  bytes.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return bytes;
}

/**
 * The service on Bun, as a program: `bun src/runtimes/bun.ts`. It is served by Bun's `node:http`: measured, its incoming
 * message is as fast as the body of `Bun.serve`, which has no reader that brings its own memory.
 */
import { node } from "./node.ts";
import { runProgram } from "./run-service.ts";

await runProgram(node);

// Asks a V8 that runs in another process, by its inspector protocol.
import { once } from "node:events";

export class Inspector {
  #socket;
  #id = 0;
  #contextId;
  #waiting = new Map();

  static async open(url) {
    const socket = new WebSocket(url);
    await once(socket, "open");
    const inspector = new Inspector(socket);
    await inspector.#call("Runtime.enable");
    return inspector;
  }

  constructor(socket) {
    this.#socket = socket;
    socket.addEventListener("message", ({ data }) => {
      const { id, method, params, result } = JSON.parse(data);
      if (method === "Runtime.executionContextCreated") this.#contextId = params.context.id;
      this.#waiting.get(id)?.(result);
      this.#waiting.delete(id);
    });
  }

  /** Bytes that objects take, and bytes of the buffers that they hold. */
  async heapUsage() {
    const { usedSize, embedderHeapUsedSize, backingStorageSize } = await this.#call("Runtime.getHeapUsage");
    return { heap: usedSize + embedderHeapUsedSize, buffers: backingStorageSize };
  }

  /** For a V8 that was started with `--expose-gc`. */
  async collectGarbage() {
    await this.#call("Runtime.evaluate", { expression: "gc()", contextId: this.#contextId });
  }

  close() {
    this.#socket.close();
  }

  #call(method, params) {
    const id = ++this.#id;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.#socket.send(JSON.stringify({ id, method, params }));
    });
  }
}

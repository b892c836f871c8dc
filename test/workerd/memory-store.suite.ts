import { MemoryStore } from "../../src/storage/memory-store.ts";
import { describeStoreContract } from "../storage/contract.ts";

describeStoreContract("MemoryStore in workerd", () => {
  const store = new MemoryStore({ partBytes: 1024 * 1024 });
  return { store, reopen: () => store, leftovers: () => Promise.resolve([]), close: () => Promise.resolve() };
});

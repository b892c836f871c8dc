#!/usr/bin/env bash
# fauxqs, in memory: ignores the conditions of every write. Its own command would listen on all interfaces.
. "$(dirname "${BASH_SOURCE[0]}")/serve.sh"
require node22 curl
require_folder "$tools/servers/node_modules/fauxqs"

port=$(free_ports 26000 1)
cat >"$data/serve.mjs" <<JS
import { buildApp } from "$tools/servers/node_modules/fauxqs/dist/app.js";
await buildApp({ logger: false, host: "127.0.0.1" }).listen({ port: $port, host: "127.0.0.1" });
JS
spawn node22 "$data/serve.mjs"
serve "$port"

/**
 * The script of the page: buttons that copy, and the upload. All else works without it. It is a text, because browsers
 * load it as it is, on every platform and from every bundle.
 *
 * An upload is one `PUT`. If the platform limits the length of a request, it is `/v1/uploads`, as `stowage load --to`
 * does it: parts, several at a time, each tried again. What has arrived stays: the same file goes on where it ended.
 */
export const script = String.raw`"use strict";

document.querySelectorAll("[data-copy]").forEach(addCopyButton);

function addCopyButton(place) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.setAttribute("aria-label", place.dataset.copy);
  button.addEventListener("click", async () => {
    const isCopied = await copy(place.querySelector("code"));
    button.textContent = isCopied ? "Copied" : "Press Ctrl+C";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
  place.append(button);
}

/** Without TLS, browsers have no clipboard for scripts: the text is selected then. */
async function copy(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    return true;
  } catch {
    getSelection().selectAllChildren(element);
    return document.execCommand("copy");
  }
}

const form = document.getElementById("upload");
if (form !== null) startForm();

function startForm() {
  const input = document.getElementById("file");
  const drop = form.querySelector(".drop");
  form.hidden = false;
  document.getElementById("no-scripts").hidden = true;
  for (const type of ["dragenter", "dragover"]) {
    document.addEventListener(type, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) drop.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files.length === 1) {
      input.files = event.dataTransfer.files;
      showSize();
    } else if (event.dataTransfer.files.length > 1) say("Drop one tarball at a time", true);
  });
  const showSize = () => {
    const [file] = input.files;
    document.getElementById("drop").textContent = file === undefined ? "or drop it here" : sizeText(file.size) + ", or drop another one";
  };
  input.addEventListener("change", showSize);
  showSize(); // browsers keep the file when a person comes back
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    await upload(input.files[0], document.getElementById("name").value.trim());
  });
}

async function upload(file, name) {
  const { base, maxBytes } = form.dataset;
  const button = form.querySelector("button");
  const cancel = document.getElementById("cancel");
  const bar = document.getElementById("progress");
  const aborter = new AbortController();
  const onCancel = () => aborter.abort(new Error("The upload was cancelled"));
  const onLeave = (event) => event.preventDefault();
  const onProgress = (sent) => {
    bar.value = sent / Math.max(file.size, 1);
    if (sent < file.size) return say(Math.floor(bar.value * 100) + " % of " + sizeText(file.size));
    bar.removeAttribute("value");
    say("All bytes have arrived. The service checks and publishes them");
  };
  document.getElementById("receipt").replaceChildren();
  document.getElementById("state").hidden = false;
  bar.hidden = false;
  button.disabled = true;
  cancel.hidden = false;
  cancel.addEventListener("click", onCancel);
  addEventListener("beforeunload", onLeave);
  onProgress(0);
  const path = name === "" ? "/load" : "/load/" + name.split("/").map(encodeURIComponent).join("/");
  const work = { base, file, path, onProgress, signal: aborter.signal };
  try {
    const inParts = maxBytes !== undefined && file.size > Number(maxBytes);
    const receipt = inParts ? await sendInParts(work) : await sendAtOnce(work);
    const { received, written, present } = receipt.bytes;
    say("Done. " + sizeText(received) + " received: " + sizeText(written) + " new, " + sizeText(present) + " there already");
    showReceipt(base, receipt);
  } catch (error) {
    say(error.message, true);
    if (error.status === 401) offerLogin(base);
  } finally {
    bar.hidden = true;
    button.disabled = false;
    cancel.hidden = true;
    cancel.removeEventListener("click", onCancel);
    removeEventListener("beforeunload", onLeave);
  }
}

async function sendAtOnce({ base, file, path, onProgress, signal }) {
  const answer = await send("PUT", base + "/v1" + path, file, { onProgress, signal });
  return receiptOf(answer);
}

async function sendInParts({ base, file, path, onProgress, signal }) {
  const uploads = base + "/v1/uploads";
  const fingerprint = ["page", file.name.slice(0, 500), file.size, file.lastModified].join(" ");
  const begun = await send("POST", uploads, JSON.stringify({ size: file.size, fingerprint }), { signal });
  let { id, parts } = receiptOf(begun);
  const url = uploads + "/" + encodeURIComponent(id);
  const sent = new Map(parts.map((part) => [part.number, part.present ? part.size : 0]));
  const report = () => onProgress([...sent.values()].reduce((sum, bytes) => sum + bytes, 0));
  report();
  const waiting = parts.filter((part) => !part.present).map((part) => part.number);
  const sendNext = async () => {
    for (let number = waiting.shift(); number !== undefined; number = waiting.shift()) {
      for (let attempt = 1; ; attempt += 1) {
        const { offset, size, url: target } = parts[number - 1];
        const onPart = (bytes) => report(sent.set(number, bytes));
        const answer = await send("PUT", target, file.slice(offset, offset + size), { onProgress: onPart, signal, isPart: true });
        if (answer.status >= 200 && answer.status < 300) break;
        sent.set(number, 0);
        if (attempt === 4) throw new Error(messageIn(answer));
        await new Promise((resolve) => setTimeout(resolve, 500 * 2 ** attempt));
        // The URL of the part may have expired.
        if (answer.status === 403 || answer.status === 404) parts = receiptOf(await send("GET", url, null, { signal })).parts;
      }
    }
  };
  await Promise.all([sendNext(), sendNext(), sendNext()]);
  const answer = await send("POST", url + path, null, { signal });
  // The service would refuse the same bytes again. After other failures the parts stay.
  if (answer.status >= 400 && answer.status < 500 && ![401, 403, 408, 409, 429].includes(answer.status)) {
    await send("DELETE", url, null, { signal });
  }
  return receiptOf(answer);
}

/** Only XMLHttpRequest tells how much has been sent. Status 0 stands for a connection that broke. */
function send(method, url, body, { onProgress, signal, isPart = false }) {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const request = new XMLHttpRequest();
    const stop = () => request.abort();
    signal.addEventListener("abort", stop);
    request.open(method, url);
    if (isPart) request.setRequestHeader("Content-Type", "application/octet-stream");
    // Without it, the browser would ask for a password when the login has ended. A bucket does not expect it.
    else request.setRequestHeader("X-Requested-With", "XMLHttpRequest");
    if (onProgress !== undefined) request.upload.onprogress = (event) => onProgress(event.loaded);
    request.onabort = () => reject(signal.reason);
    request.onloadend = () => {
      signal.removeEventListener("abort", stop);
      resolve({ status: request.status, text: request.responseText });
    };
    request.send(body);
  });
}

function receiptOf(answer) {
  if (answer.status >= 200 && answer.status < 300) return JSON.parse(answer.text);
  throw Object.assign(new Error(messageIn(answer)), { status: answer.status });
}

function messageIn({ status, text }) {
  if (status === 0) return "The connection broke. Try again";
  if (status === 401) return "Your login has ended. ";
  try {
    return JSON.parse(text).errors[0].message;
  } catch {
    return "The service answered with status " + status;
  }
}

function say(text, isProblem = false) {
  const status = document.getElementById("status");
  document.getElementById("state").hidden = false;
  // Screen readers would read each percent.
  if (status.textContent !== text) status.textContent = text;
  status.setAttribute("aria-live", text.includes("%") ? "off" : "polite");
  status.classList.toggle("problem", isProblem);
}

/** In another tab, because no page can keep a chosen file. */
function offerLogin(base) {
  const link = document.createElement("a");
  link.href = base + "/-/login";
  link.target = "_blank";
  link.textContent = "Log in again in a new tab";
  document.getElementById("status").append(link, ", then press Upload here. The file stays chosen");
}

function showReceipt(base, { images = [] }) {
  const list = document.createElement("ul");
  list.className = "rows";
  for (const { repository, reference, status, pull } of images) {
    const row = document.createElement("li");
    const link = document.createElement("a");
    link.className = "name";
    link.href = base + "/-/image/" + repository + "/" + reference;
    link.textContent = repository + (reference.includes(":") ? "@" : ":") + reference;
    const meta = document.createElement("span");
    meta.className = "meta";
    meta.textContent = status;
    row.append(link, meta);
    if (pull !== undefined) row.append(copyable(pull));
    list.append(row);
  }
  const heading = document.createElement("h2");
  heading.textContent = images.length === 1 ? "One image is published" : images.length + " images are published";
  document.getElementById("receipt").replaceChildren(heading, list);
}

function copyable(command) {
  const place = document.createElement("span");
  place.className = "copyable";
  place.dataset.copy = "Copy " + command;
  const code = document.createElement("code");
  code.textContent = command;
  place.append(code);
  addCopyButton(place);
  return place;
}

function sizeText(bytes = 0) {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let value = bytes;
  for (; value >= 999.5 && unit < units.length - 1; unit += 1) value /= 1024;
  return (unit === 0 ? value : value.toPrecision(3)) + " " + units[unit];
}
`;

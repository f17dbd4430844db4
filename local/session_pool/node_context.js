// Runs inside a container: evaluates what the emulator sends, in one context that keeps its variables.
// Lines of JSON over the Unix socket that the only argument names: {"code", "milliseconds"} comes in,
// {"ok", "json", "text", "error"} goes back; what the code prints goes to the process's own streams.
'use strict';
const net = require('net');
const readline = require('readline');
const util = require('util');
const vm = require('vm');
const { createRequire } = require('module');

const context = vm.createContext(Object.assign(Object.create(null), {
  console, process, Buffer, URL, URLSearchParams, TextEncoder, TextDecoder, AbortController, fetch,
  setTimeout, clearTimeout, setInterval, clearInterval, setImmediate, clearImmediate, queueMicrotask,
  structuredClone, performance, require: createRequire(process.cwd() + '/'),
}));
context.globalThis = context.global = context;

function described(value) {
  if (value === undefined) return { json: '""', text: '' };
  const text = typeof value === 'string' ? value : util.inspect(value);
  if (typeof value === 'number' && !Number.isFinite(value)) return { json: JSON.stringify(String(value).toLowerCase()), text };
  let json;
  try {
    json = JSON.stringify(value);
  } catch {
    json = undefined;
  }
  return { json: json === undefined ? JSON.stringify(text) : json, text };
}

async function evaluate({ code, milliseconds }) {
  try {
    const script = new vm.Script(code, { filename: 'cell.js' });
    const value = await script.runInContext(context, { timeout: milliseconds });
    return { ok: true, ...described(value) };
  } catch (error) {
    if (error && error.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') return { ok: false, timedOut: true };
    return { ok: false, error: (error && error.stack) || util.inspect(error) };
  }
}

process.on('uncaughtException', (error) => console.error(error));
process.on('unhandledRejection', (error) => console.error(error));
const socket = net.connect(process.argv[2]);
socket.on('close', () => process.exit(0));
readline.createInterface({ input: socket }).on('line', async (line) => {
  socket.write(JSON.stringify(await evaluate(JSON.parse(line))) + '\n');
});

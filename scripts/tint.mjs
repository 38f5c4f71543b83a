// Validates every NAME.wgsl of a folder with Tint, the browser's compiler, and makes a pipeline of every entry point
// under WebGPU's default limits. No driver is needed: Dawn's null backend stops before machine code.
//
// usage: node tint.mjs NODE_MODULES FOLDER
//
// Tint knows `var<immediate>` without an `enable` or `requires` line, so the files are taken as they are.

import { readFileSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [modules, folder] = process.argv.slice(2);
const { create } = await import(pathToFileURL(resolve(modules, 'webgpu/index.js')));
// Held by a global, for Dawn breaks when its instance is collected while the device lives.
globalThis.gpu = create(['backend=null']);
const adapter = await globalThis.gpu.requestAdapter();
const features = ['shader-f16', 'subgroups'].filter((name) => adapter.features.has(name));
const device = await adapter.requestDevice({ requiredFeatures: features });

// The messages of what `make` does wrong, none if it is right.
async function errorsOf(make) {
  device.pushErrorScope('validation');
  const made = make();
  const error = await device.popErrorScope();
  return [made, error ? [error.message.trim()] : []];
}

const all = readdirSync(folder).filter((name) => name.endsWith('.wgsl')).sort();
// Tint knows no matrix units.
const units = (file) => /^enable wgpu_cooperative_matrix;/m.test(readFileSync(join(folder, file), 'utf8'));
const files = all.filter((file) => !units(file));
let passed = 0;
let failed = 0;
for (const file of files) {
  const code = readFileSync(join(folder, file), 'utf8');
  const [module, found] = await errorsOf(() => device.createShaderModule({ label: file, code }));
  const errors = found;
  if (errors.length === 0) {
    const bare = code.replace(/\/\/.*/g, '');
    const entries = [...bare.matchAll(/@compute[^{;]*?\bfn\s+(\w+)/g)].map((match) => match[1]);
    if (entries.length === 0) errors.push('no entry point');
    for (const entryPoint of entries) {
      const compute = { module, entryPoint };
      const [, wrong] = await errorsOf(() => device.createComputePipeline({ label: entryPoint, layout: 'auto', compute }));
      errors.push(...wrong);
      passed += wrong.length === 0;
    }
  }
  failed += errors.length;
  for (const error of errors) console.error(`${file}: ${error}`);
}
console.log(`tint: ${passed} entry points of ${files.length} WGSL files accepted, ${failed} errors; ` +
  `${all.length - files.length} files for matrix units left out`);
// Dawn keeps the process alive otherwise.
process.exit(passed > 0 && failed === 0 ? 0 : 1);

import { WasmStore } from '../../src/store/wasm-store.js';
import { contract } from './contract.js';

contract('WasmStore, release', (options) => new WasmStore(options, 'release'));
contract('WasmStore, debug', (options) => new WasmStore(options, 'debug'));

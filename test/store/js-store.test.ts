import { JsStore } from '../../src/store/js-store.js';
import { contract } from './contract.js';

contract('JsStore', (options) => new JsStore(options));

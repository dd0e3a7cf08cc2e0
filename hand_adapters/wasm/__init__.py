"""The wasm adapter: WebAssembly modules, run by a jailed worker."""

from hand_adapters.wasm.adapter import WasmAdapter

__all__ = ["WasmAdapter"]

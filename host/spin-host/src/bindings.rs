//! Spin's interfaces, made from `wit`.

mod generated {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "postern:spin-host/imports",
        imports: { default: async | trappable },
    });
}

pub use generated::spin::variables::variables;

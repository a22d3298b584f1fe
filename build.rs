//! Compiles proto/ into Rust, in Rust: protox needs no protoc on the machine.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let roots = ["tensorflow_serving/apis/prediction_service.proto", "tensorflow_serving/apis/model_service.proto"];
    let descriptors = protox::compile(roots, ["proto"])?;
    tonic_prost_build::configure()
        // Pictures are megabytes: they travel as `Bytes`, not as `Vec<u8>`.
        .bytes(".tensorflow.TensorProto")
        .compile_fds(descriptors)?;
    Ok(())
}

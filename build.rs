//! Compiles proto/ into Rust, in Rust: protox needs no protoc on the machine.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let serving = ["tensorflow_serving/apis/prediction_service.proto", "tensorflow_serving/apis/model_service.proto"];
    let descriptors = protox::compile(serving, ["proto"])?;
    tonic_prost_build::configure()
        // Pictures are megabytes: they travel as `Bytes`, not as `Vec<u8>`.
        .bytes(".tensorflow.TensorProto")
        .compile_fds(descriptors)?;

    let own = protox::compile(["spotter/v1/detection.proto"], ["proto"])?;
    // For gRPC reflection, which lets grpcurl and its like call the service without the .proto file.
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("spotter.v1.bin"), own.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".spotter").compile_fds(own)?;
    Ok(())
}

//! `cargo run -p gennaker-compiler --example compile FILE` prints a pipeline's definition and its picture.
fn main() {
    let Some(file) = std::env::args().nth(1) else {
        eprintln!("which file?");
        return;
    };
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("{file}: {error}");
            return;
        }
    };
    match gennaker_compiler::compile_text(&text, &gennaker_compiler::Options::default()) {
        Ok(compiled) => {
            println!("{}", compiled.definition_text);
            eprint!("{}", gennaker_compiler::picture(&compiled));
            for stage in &compiled.plan.stages {
                eprintln!("{}", serde_json::to_string(stage).unwrap_or_default());
            }
        }
        Err(problems) => problems.iter().for_each(|problem| eprintln!("{problem}")),
    }
}

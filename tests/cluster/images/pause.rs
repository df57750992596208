//! What holds a pod's namespaces: it does nothing, for ever.

fn main() {
    loop {
        std::thread::park();
    }
}

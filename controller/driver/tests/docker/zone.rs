//! Stands in for a zone's program in the driver's tests: static, so that it runs in an image of its own.
//! Each argument is a step.

use std::{
    fs,
    io::Read as _,
    net::{TcpListener, TcpStream, ToSocketAddrs as _},
    os::unix::fs::MetadataExt as _,
    process::exit,
    thread::sleep,
    time::Duration,
};

fn main() {
    for step in std::env::args().skip(1) {
        let (verb, rest) = step.split_once('=').unwrap_or((&step, ""));
        match verb {
            "say" => println!("{rest}"),
            "warn" => eprintln!("{rest}"),
            // Its mark and text.
            "report" => {
                let (mark, text) = rest.split_once(' ').unwrap();
                println!("\u{1e}slipway {mark} 1/1 {text}");
            }
            // So many lines.
            "flood" => {
                let line = "y".repeat(90);
                for _ in 0..rest.parse::<usize>().unwrap() {
                    println!("{line}");
                }
            }
            "write" => fs::write(rest, "from another zone").unwrap(),
            "cat" => println!("{rest}: {}", fs::read_to_string(rest).unwrap()),
            "stat" => {
                let meta = fs::metadata(rest).unwrap();
                println!("{rest}: {:o} {}:{}", meta.mode() & 0o7777, meta.uid(), meta.gid());
            }
            "status" => {
                for line in fs::read_to_string("/proc/self/status").unwrap().lines() {
                    if ["CapEff", "CapBnd", "NoNewPrivs", "Uid", "Gid"]
                        .iter()
                        .any(|name| line.starts_with(name))
                    {
                        println!("{}", line.replace('\t', " "));
                    }
                }
            }
            "mounts" => {
                for line in fs::read_to_string("/proc/mounts").unwrap().lines() {
                    println!("{line}");
                }
            }
            // Touches every page, so that it counts.
            "eat" => {
                let size = rest.parse::<u64>().unwrap() << 20;
                let mut eaten = Vec::new();
                std::io::repeat(1).take(size).read_to_end(&mut eaten).unwrap();
                println!("ate {}", eaten.len());
            }
            "serve" => {
                let listener = TcpListener::bind(rest).unwrap();
                println!("listening");
                for stream in listener.incoming() {
                    drop(stream);
                }
            }
            "connect" => connect(rest),
            // The first address of the network that this container is on: an engine's own, where it has one.
            "gateway" => {
                let routes = fs::read_to_string("/proc/net/route").unwrap();
                let network = routes
                    .lines()
                    .skip(1)
                    .filter_map(|line| line.split('\t').nth(1))
                    .find(|network| *network != "00000000")
                    .unwrap();
                let [a, b, c, d] = u32::from_str_radix(network, 16).unwrap().to_ne_bytes();
                connect(&format!("{a}.{b}.{c}.{}:{rest}", d + 1));
            }
            "sleep" => sleep(Duration::from_secs(rest.parse().unwrap())),
            "exit" => exit(rest.parse().unwrap()),
            other => panic!("no step {other}"),
        }
    }
}

fn connect(to: &str) {
    let connected = to
        .to_socket_addrs()
        .unwrap()
        .any(|address| TcpStream::connect_timeout(&address, Duration::from_secs(2)).is_ok());
    println!("{}", if connected { "connected" } else { "cut off" });
}

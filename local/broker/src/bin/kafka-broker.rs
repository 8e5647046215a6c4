//! The broker as a program that runs until its standard input ends: `kafka-broker PORT DATA_DIR [TOPIC:PARTITIONS …]`.

use std::{
    error::Error,
    io::{self, Read, Write},
    path::PathBuf,
};

use broker::{Broker, Config};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(port), Some(data_dir)) = (args.next(), args.next()) else {
        return Err("usage: kafka-broker PORT DATA_DIR [TOPIC:PARTITIONS …]".into());
    };
    let mut topics = Vec::new();
    for topic in args {
        let (name, partitions) =
            topic.rsplit_once(':').ok_or_else(|| format!("{topic}: TOPIC:PARTITIONS expected"))?;
        topics.push((name.to_owned(), partitions.parse()?));
    }
    let broker = Broker::start(Config { port: port.parse()?, data_dir: PathBuf::from(data_dir), topics })?;
    writeln!(io::stdout(), "{}", broker.bootstrap_servers())?;
    io::stdin().read_to_end(&mut Vec::new())?;
    broker.stop()?;
    Ok(())
}

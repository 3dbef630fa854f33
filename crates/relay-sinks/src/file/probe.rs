//! Whether a file could be written, found out without making or changing one.

use std::fs;
use std::io::{self, ErrorKind};

use relay_core::sink::Failure;
use rustix::fs::{Access, access};

use super::Config;
use super::failure::failure;
use super::rotation::directory;

/// Looks at the file, or, where there is none yet, at the directory that it would be made in.
///
/// # Errors
/// What stands in the way, and what to do about it.
pub async fn probe(config: &Config) -> Result<(), Failure> {
    let config = config.clone();
    let looked = tokio::task::spawn_blocking(move || {
        look(&config).map_err(|error| failure(&error, &config.path))
    });
    looked.await.unwrap_or_else(|error| {
        let error = io::Error::other(error);
        Err(failure(&error, "-".as_ref()))
    })
}

fn look(config: &Config) -> io::Result<()> {
    if config.path.as_os_str() == "-" {
        return Ok(());
    }
    let directory = directory(&config.path);
    let not_a_directory = || io::Error::from(ErrorKind::NotADirectory);
    let found = fs::metadata(directory)?;
    found.is_dir().then_some(()).ok_or_else(not_a_directory)?;
    match fs::metadata(&config.path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Ok(access(directory, Access::WRITE_OK | Access::EXEC_OK)?)
        }
        Err(error) => Err(error),
        Ok(found) if found.is_dir() => Err(ErrorKind::IsADirectory.into()),
        Ok(found) if !found.is_file() => Err(ErrorKind::Unsupported.into()),
        Ok(_) if config.rotate_bytes.is_some() => {
            access(directory, Access::WRITE_OK | Access::EXEC_OK)?;
            Ok(access(&config.path, Access::READ_OK | Access::WRITE_OK)?)
        }
        Ok(_) => Ok(access(&config.path, Access::READ_OK | Access::WRITE_OK)?),
    }
}

//! What holds for every sink that confirms, whatever its protocol: what it is given, what becomes of
//! what it refuses, what an operator can do, what is shown of it, and what its death costs.

mod choice;
mod dead;
mod operator;
mod rejection;
mod reload;
mod shown;
mod world;

//! x
use super::*;
pub struct Postgres;
pub struct Reader;
impl Postgres {
    pub fn open(_: &Secret, _: &config::Ledger) -> Result<sqlite::Sqlite, StoreError> {
        todo!()
    }
}
impl Reader {
    pub fn open(_: &Secret) -> Result<Reader, StoreError> {
        todo!()
    }
}
impl Part for Reader {
    fn query(
        &mut self,
        _: &str,
        _: &mut dyn FnMut(&[i64]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        todo!()
    }
    fn number(&mut self, _: &str) -> Result<Option<i64>, StoreError> {
        todo!()
    }
    fn names(&mut self, _: &[i64]) -> Result<Vec<String>, StoreError> {
        todo!()
    }
    fn rows(&mut self, _: (i64, u128), _: i64, _: usize) -> Result<Vec<Row>, StoreError> {
        todo!()
    }
    fn check(&mut self, _: &mut dyn Write) -> Result<Vec<String>, StoreError> {
        todo!()
    }
    fn position(&mut self, _: &str) -> Result<Option<Position>, StoreError> {
        todo!()
    }
}

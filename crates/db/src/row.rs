//! A row of a result, read by position.

use std::any::type_name;

use crate::{DbError, FromValue, Value};

/// One row; its values are in the order of the select list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    values: Box<[Value]>,
}

impl Row {
    pub(crate) fn new(values: Vec<Value>) -> Self {
        Self { values: values.into_boxed_slice() }
    }

    /// The value at `index` as a `T`.
    pub fn get<T: FromValue>(&self, index: usize) -> Result<T, DbError> {
        let value = self.values.get(index).ok_or(DbError::NoSuchColumn { index, columns: self.values.len() })?;
        T::from_value(value).ok_or_else(|| DbError::Decode { index, value: value.clone(), wanted: type_name::<T>() })
    }

    /// The values themselves.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The values themselves, without a copy.
    pub fn into_values(self) -> Vec<Value> {
        self.values.into_vec()
    }
}

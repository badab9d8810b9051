// Fires 'back' with the query that Back or Forward went to.
document.addEventListener('ih:back', () => trigger('back', { query: window.location.search }));
